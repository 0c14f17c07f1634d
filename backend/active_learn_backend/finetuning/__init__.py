"""Built-in fine-tuning: a program that trains a Hugging Face classifier on a project's labels."""
