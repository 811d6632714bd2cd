"""Pages that show a cluster, live and afterwards: a Bokeh server application and figures for reports."""
