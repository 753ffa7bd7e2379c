"""The paper's tables and figures as frozen protocols: what is trained, tested, drawn, and what the paper has."""
