"""EC2 on loopback: moto's server, a layer in front of it that adds what it lacks, and machines that
are processes, booted from the user data that a launch sends. For tests and for benchmarks."""
