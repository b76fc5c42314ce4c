//! The Pod decision, played through by a kubelet and a runtime in memory. Each test names the rules it proves.

mod agent_restart;
mod any_pod;
mod images;
mod one_turn;
mod probes;
mod resize;
mod restart;
mod sim;
mod start;
mod statuses;
mod stop;
