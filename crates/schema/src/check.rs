//! Unknown fields and wrong types in a request body (D12, D13, B18).
