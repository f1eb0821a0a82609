"""The sending side. Answers nobody."""
