//! The published API schema as one compact table: decoding checks, merge and list metadata, OpenAPI.
