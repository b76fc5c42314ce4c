//! Assigns Pods to nodes: an ordinary API client around the scheduling core.
