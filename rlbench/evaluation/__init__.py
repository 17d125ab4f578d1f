"""Evaluation: the stages that ask a trained model something. A new kind of question is one more module here."""
