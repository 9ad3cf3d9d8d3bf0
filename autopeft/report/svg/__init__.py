"""Drawing for the report: elements, scales and frames as SVG text, coloured by the page's style sheet."""
