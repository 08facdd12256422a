#![doc = include_str!("../README.md")]

pub mod family;
mod leash;
pub mod mariadb;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod redis;
pub mod scratch;
mod server;
pub mod wait;

pub use server::Setup;
