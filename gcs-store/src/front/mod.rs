//! The RESP front: connections in, commands to the engine, replies out.
