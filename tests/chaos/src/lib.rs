#![doc = include_str!("../README.md")]

pub mod binary;
pub mod dev;
pub mod http;
pub mod ledger;
pub mod load;
pub mod ray;
pub mod ray_drill;
pub mod site;
pub mod steady;
pub mod store;
pub mod venv;
