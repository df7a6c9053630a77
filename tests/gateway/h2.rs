//! HTTP/2 towards clients: its frames, its heads, its bodies, its end, and what hostile peers do with it.

mod bodies;
mod both;
mod clients;
mod ends;
mod floods;
mod frames;
mod heads;
mod lengths;
mod prefaces;
mod speaker;
