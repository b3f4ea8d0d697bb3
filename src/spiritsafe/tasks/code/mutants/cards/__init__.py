"""Programs in lines of fixed columns, as punched cards had them."""
