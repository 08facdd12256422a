//! Namespaces as objects.
