"""Programs of the Python peers: `engines.py WORK INPUT OUTPUT`, one process a run."""

import sys

WORDS = "[ \\t\\r\\f]+"


def polars_words(source, output):
    import polars as pl

    line = pl.col("line").str.replace_all("[\\t\\r\\f]", " ").str.split(" ")
    (
        pl.scan_csv(
            source,
            has_header=False,
            new_columns=["line"],
            separator="\x01",
            quote_char=None,
            infer_schema=False,
        )
        .select(line.alias("word"))
        .explode("word")
        .filter(pl.col("word").is_not_null() & (pl.col("word") != ""))
        .group_by("word")
        .len()
        .sink_csv(output, include_header=False, separator="\t", quote_style="never")
    )


def duckdb_words(source, output):
    import duckdb

    duckdb.execute("SET threads = 2")
    duckdb.execute("SET preserve_insertion_order = false")
    duckdb.execute(
        f"""
        COPY (
            SELECT word || chr(9) || count(*) FROM (
                SELECT unnest(string_split(
                    translate(line, chr(9) || chr(13) || chr(12), '   '), ' ')) AS word
                FROM read_csv('{source}', columns = {{'line': 'VARCHAR'}}, delim = chr(1),
                    quote = '', escape = '', header = false, auto_detect = false,
                    null_padding = true, max_line_size = 16000000)
            ) WHERE word <> '' GROUP BY word
        ) TO '{output}' (HEADER false, DELIMITER '{chr(1)}', QUOTE '', ESCAPE '')
        """
    )


def spark():
    from pyspark.sql import SparkSession

    return (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.memory", "8g")
        .config("spark.sql.shuffle.partitions", "4")
        .getOrCreate()
    )


def spark_words(source, output):
    from pyspark.sql import functions as f

    text = spark().read.text(source)
    words = text.select(f.explode(f.split("value", WORDS)).alias("word")).filter("word <> ''")
    counts = words.groupBy("word").count()
    counts.select(f.concat_ws("\t", "word", "count")).write.text(output)


def spark_sort(source, output):
    spark().read.text(source).sort("value").write.text(output)


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2], sys.argv[3])
