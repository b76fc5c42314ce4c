//! The messages between the node agent and a Pod's sandbox process.
