//! Bytes to JSON trees.
