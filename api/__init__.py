"""入口: every entrance, and the only place where the parts are joined."""
