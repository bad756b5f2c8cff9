"""From one revision of a deployment to the next: strategies, steps and verdicts (pure)."""
