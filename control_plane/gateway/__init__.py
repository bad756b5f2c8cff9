"""The data plane: OpenAI's API in front of the job queue, knowing only the projection and Redis."""
