"""`everloop demo`: the main job shown on real parts, and checked while it is shown."""
