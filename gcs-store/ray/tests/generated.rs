//! The checked-in wire code is what the `.proto` says.
//!
//! Regenerated with a compiler written in Rust, so that neither a build nor
//! this test needs `protoc`. After a change of the `.proto`, run it once with
//! `TRADEWIND_BLESS=1`.

use std::{fs, path::Path};

const PROTO: &str = "proto/tradewind/ray/v1/tables.proto";
const CHECKED_IN: &str = "src/wire/generated.rs";

#[test]
fn the_checked_in_code_is_what_the_proto_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let descriptors = protox::compile([root.join(PROTO)], [root.join("proto")]).unwrap();
    tonic_prost_build::configure()
        .btree_map(".")
        .bytes(".")
        .out_dir(folder.path())
        .compile_fds(descriptors)
        .unwrap();
    let generated = fs::read_to_string(folder.path().join("tradewind.ray.v1.rs")).unwrap();

    let checked_in = root.join(CHECKED_IN);
    if std::env::var_os("TRADEWIND_BLESS").is_some() {
        fs::write(&checked_in, &generated).unwrap();
    }
    let same = fs::read_to_string(&checked_in).unwrap_or_default() == generated;
    assert!(
        same,
        "{CHECKED_IN} differs from {PROTO}: run this test with TRADEWIND_BLESS=1"
    );
}
