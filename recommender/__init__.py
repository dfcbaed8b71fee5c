"""推荐: in which order notices reach a person, and why."""
