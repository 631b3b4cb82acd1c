"""What the HTML pages of this project share: layout, style sheet, number formats, charts and pictures."""
