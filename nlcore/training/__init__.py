"""From a configuration to a result: networks, views, MixMatch, the loop, checkpoints. It asks a method, never which."""
