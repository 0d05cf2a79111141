"""Plans, the judge, and the run that commits and resumes: from a model and its data to a record."""
