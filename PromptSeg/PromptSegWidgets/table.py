"""A table of the panel: its heads, the widths of its columns, the height of its rows."""

ROW_PX = 22


def setUpTable(table, titles, widthsPx=()):
    """Give `table` a column for each of `titles`; the last one takes what `widthsPx` of those before it leave."""
    table.setHorizontalHeaderLabels(titles)
    table.horizontalHeader().setStretchLastSection(True)
    table.verticalHeader().setVisible(False)
    table.verticalHeader().setDefaultSectionSize(ROW_PX)
    for column, widthPx in enumerate(widthsPx):
        table.setColumnWidth(column, widthPx)
