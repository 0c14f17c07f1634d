"""How strategies are judged: replays of labeled data, learning curves, tuning."""
