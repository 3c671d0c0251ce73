-- Where the others reach the instance that met a site's sandbox: a URL; NULL where it told of none.
ALTER TABLE site ADD COLUMN holder text;
