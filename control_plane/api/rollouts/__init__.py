"""The rollout of a deployment: where it stands, and its owner's word."""
