//! Starts real processes and servers for tests.
