//! The one watch, queue, decide, act loop.
