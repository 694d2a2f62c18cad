"""Settings: what the environment and the `.env` files say."""
