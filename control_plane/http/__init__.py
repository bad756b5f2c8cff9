"""What the gateway and the API have in common as HTTP servers."""
