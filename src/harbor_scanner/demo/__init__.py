"""The main job from end to end, on this machine alone: a registry, the service, and somebody who plays Harbor."""
