"""The routes by which machines that joined read the models that they run."""
