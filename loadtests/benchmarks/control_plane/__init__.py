"""What the control plane does in time: reconcile a large fleet, launch, take over, place."""
