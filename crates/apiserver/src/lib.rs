//! The Kubernetes API server: one pipeline for every kind.
