"""The teacher's kit: `python -m tools.teaching` writes one zip with notebooks, slides, syllabi and an exam."""
