"""What a load test sends and when, and how it reads what comes back."""
