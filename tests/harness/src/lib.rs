#![doc = include_str!("../README.md")]

pub mod family;
pub mod ports;
pub mod process;
pub mod wait;
