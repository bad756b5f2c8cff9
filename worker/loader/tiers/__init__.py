"""Where the bytes of a package can be had, from the nearest to the farthest."""
