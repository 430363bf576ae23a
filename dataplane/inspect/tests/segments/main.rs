//! What single segments and fragments may look like, who gets a place in the flow table, and that everything ends: a
//! puppeteer moves both ends of the connections, and looks at each frame that leaves.

mod again;
mod bounded;
mod exchanges;
mod fragments;
#[path = "../inspecting/mod.rs"]
mod inspecting;
mod lane;
mod loss;
mod pickup;
mod pressure;
mod puppet;
mod rules;
mod window;
