//! Files that are whole, cut, changed and out of order.

use proptest::prelude::*;

use super::*;

fn header() -> Header {
    Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        namespace: NamespaceName::new("prod").unwrap(),
        at_ms: 5,
        at: "1970-01-01T00:00:00.005Z".to_owned(),
        source: "sqlite".to_owned(),
        cluster_id: None,
    }
}

type Row = (Key, Vec<u8>);

fn key(table: TableName, field: &[u8]) -> Key {
    Key {
        table,
        field: Bytes::copy_from_slice(field),
        updated_ms: 7,
    }
}

fn rows() -> Vec<Row> {
    vec![
        (key(TableName::JOB_COUNTER, b""), b"12".to_vec()),
        (key(TableName::KV, b"\0\r\n@*\xff"), Vec::new()),
        (key(TableName::KV, b"large"), vec![0xfe; 2 * PIECE_MAX + 1]),
        (
            key(TableName::NODE, &[0xff; 28]),
            b"{\"rows\":1}\n".to_vec(),
        ),
    ]
}

fn encode(rows: &[Row]) -> Vec<Bytes> {
    let (mut encoder, first) = Encoder::begin(&header());
    let mut lines = vec![first];
    for (key, value) in rows {
        if value.len() <= PIECE_MAX {
            lines.push(encoder.row(key, value));
        } else {
            lines.push(encoder.large(key, Fingerprint::of(value)));
            lines.extend(value.chunks(PIECE_MAX).map(|piece| encoder.chunk(piece)));
        }
    }
    lines.push(encoder.end().1);
    lines
}

fn decode<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Row>, Broken> {
    let mut lines = lines.into_iter();
    let (mut decoder, _) = Decoder::begin(lines.next().unwrap_or_default())?;
    let mut rows: Vec<Row> = Vec::new();
    while let Some(item) = decoder.next(lines.next())? {
        match item {
            Item::Row(key, value) => rows.push((key, value.to_vec())),
            Item::Large(key, _) => rows.push((key, Vec::new())),
            Item::Chunk(piece) => rows.last_mut().unwrap().1.extend_from_slice(&piece),
            Item::End(trailer) => assert_eq!(trailer.rows, rows.len() as u64),
        }
    }
    Ok(rows)
}

fn decode_text(text: &[u8]) -> Result<Vec<Row>, Broken> {
    decode(text.split_inclusive(|byte| *byte == b'\n'))
}

#[test]
fn rows_come_back_as_they_were() {
    assert_eq!(decode_text(&encode(&rows()).concat()).unwrap(), rows());
    assert_eq!(decode_text(&encode(&[]).concat()).unwrap(), []);
    assert_eq!(Decoder::begin(&encode(&[])[0]).unwrap().1, header());
}

#[test]
fn no_line_is_longer_than_the_bound() {
    let longest = (
        key(TableName::new("T".repeat(64)).unwrap(), &[0xff; 65536]),
        vec![0xff; PIECE_MAX],
    );
    for line in encode(&[longest]) {
        assert!(line.len() <= LINE_MAX, "{}", line.len());
    }
}

#[test]
fn a_file_cut_anywhere_is_noticed() {
    let text = encode(&rows()[..2]).concat();
    for len in 0..text.len() {
        assert!(decode_text(&text[..len]).is_err(), "{len}");
    }
    let lines = encode(&rows());
    for missing in 0..lines.len() {
        let mut lines = lines.clone();
        lines.remove(missing);
        assert!(
            decode(lines.iter().map(AsRef::as_ref)).is_err(),
            "{missing}"
        );
    }
}

#[test]
fn a_changed_byte_is_noticed() {
    let text = encode(&rows()[..2]).concat();
    for at in 0..text.len() {
        for bit in [0x01, 0x20] {
            let mut text = text.clone();
            text[at] ^= bit;
            assert!(decode_text(&text).is_err(), "{at}");
        }
    }
}

#[test]
fn rows_in_another_order_are_refused() {
    let mut lines = encode(&rows()[..2]);
    lines.swap(1, 2);
    assert_eq!(
        decode(lines.iter().map(AsRef::as_ref)),
        Err(Broken::Line {
            line: 3,
            what: "a row out of order"
        })
    );
}

#[test]
fn a_newer_version_is_refused() {
    let newer = Header {
        version: 2,
        ..header()
    };
    let (_, line) = Encoder::begin(&newer);
    assert_eq!(
        Decoder::begin(&line).unwrap_err(),
        Broken::Version { version: 2 }
    );
}

proptest! {
    #[test]
    fn any_rows_come_back(
        values in prop::collection::btree_map(
            prop::collection::vec(any::<u8>(), 0..40),
            prop::collection::vec(any::<u8>(), 0..200),
            0..20,
        )
    ) {
        let rows: Vec<_> = values
            .into_iter()
            .map(|(field, value)| (key(TableName::KV, &field), value))
            .collect();
        prop_assert_eq!(decode_text(&encode(&rows).concat()).unwrap(), rows);
    }

    #[test]
    fn no_bytes_make_it_panic(
        lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..6)
    ) {
        let (mut decoder, _) = Decoder::begin(&Encoder::begin(&header()).1).unwrap();
        for line in lines {
            if decoder.next(Some(&line)).is_err() {
                break;
            }
        }
    }
}
