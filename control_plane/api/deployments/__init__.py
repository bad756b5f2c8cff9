"""The routes of deployments."""
