"""Suite to plan: recipes, towers, class-name vectors, search, sizes, forecast, exported trials."""
