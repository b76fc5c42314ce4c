//! Defaults, validation, patches and built-in plug-ins as pure functions over API objects.
