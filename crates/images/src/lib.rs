//! Images: pull, content store, unpack, overlay snapshots, garbage collection.
