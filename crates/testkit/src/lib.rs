//! Fixture images, a loopback registry and helpers for tests that need the real thing.
//!
//! Nothing here is part of Outrigger: no crate may depend on it outside its tests. Images are made from programs the
//! machine has, registries listen on loopback only, and everything started is ended when its handle is dropped.
//!
//! [`FixtureImage`] makes images, good and hostile; [`busybox`] and [`python`] the two the lifecycle tests run.
//! [`LoopbackRegistry`] serves them with a real registry program, [`FaultRegistry`] in process and with faults on
//! command. [`Etcd`] is a real etcd, [`SmallDisk`] a disk
//! that fills up. [`Program`] runs binaries under test.

#![warn(missing_docs)]

mod client;
mod error;
mod etcd;
mod fault;
mod image;
mod layer;
mod loopback;
mod program;
mod python;
mod rootfs;
mod small_disk;

pub use error::TestkitError;
pub use etcd::{Etcd, EtcdTlsFiles};
pub use fault::{Fault, FaultRegistry, Login, Seen};
pub use image::{Blob, FixtureImage, PackedImage};
pub use layer::{Compression, FixtureLayer};
pub use loopback::LoopbackRegistry;
pub use program::{Program, binary, kubectl};
pub use python::python;
pub use rootfs::{busybox, busybox_as};
pub use small_disk::SmallDisk;
