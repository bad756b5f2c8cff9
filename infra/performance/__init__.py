"""How fast and how large: what hardware, a model and its options allow, before and after they are
measured. Pure; the autoscaler, placement and the simulator ask the same functions."""
